"""The pages of the programs in ``examples``, in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from support.browser import Page
from support.example_apps import Example


def test_the_dashboard_draws_each_machine(page: Page, tmp_path: Path) -> None:
    with Example(tmp_path, "dashboard") as example:
        page.goto(f"http://127.0.0.1:{example.port}/")
        expect(page.get_by_role("status")).to_have_text("live")
        page.get_by_role("button").click()
        expect(page.get_by_role("row")).to_have_count(3)
        expect(page.get_by_role("row").filter(has_text="db-1").locator("polyline")).to_have_count(
            1
        )
        page.close()


def test_the_page_of_a_job_shows_its_end_after_a_reload(page: Page, tmp_path: Path) -> None:
    with Example(tmp_path, "job_progress") as example:
        page.goto(f"http://127.0.0.1:{example.port}/")
        page.get_by_role("button").click()
        expect(page.get_by_role("status")).to_have_text("20 parts are done")
        page.reload()
        expect(page.get_by_role("status")).to_have_text("20 parts are done")
        assert page.get_by_role("progressbar").evaluate("bar => bar.value") == 1
        page.close()


def test_the_page_shows_the_whole_answer_and_no_markup(page: Page, tmp_path: Path) -> None:
    with Example(tmp_path, "token_stream") as example:
        page.goto(f"http://127.0.0.1:{example.port}/")
        page.get_by_label("prompt").fill("<b>what</b>")
        page.get_by_role("button").click()
        answer = "You asked: <b>what</b>. A model would know more than this."
        expect(page.locator("#answer")).to_have_text(answer)
        page.close()
