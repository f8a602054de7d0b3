"""The list of reports over HTTP."""

import asyncio

import httpx

from trueup.orchestration.stack.reports import application


def test_a_report_that_is_removed_while_the_list_is_made_is_left_out(tmp_path):
    for name in ("kept", "gone"):
        folder = tmp_path / "dossiers" / name
        folder.mkdir(parents=True)
        (folder / f"{name}-v1.html").write_text("a dossier")
    gone = tmp_path / "dossiers" / "gone" / "gone-v1.html"
    gone.unlink()
    gone.symlink_to(tmp_path / "nothing")  # it has a name still, and nothing behind it

    async def ask(path):
        transport = httpx.ASGITransport(application(tmp_path))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    answer = asyncio.run(ask("/"))
    assert answer.status_code == 200
    assert "dossier, version 1" in answer.text
    assert "gone" not in answer.text
    assert asyncio.run(ask("/dossiers/gone/gone-v1.html")).status_code == 404
