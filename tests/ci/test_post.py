"""`trueup ci post`: reports as comments and issues, against local servers that speak the APIs of GitHub and GitLab."""

import os

import pytest

from tests.ci.hosts import TOKEN, serving
from trueup.ci.servers.post import LONGEST, MARKERS, harmless

COMMENT = f"{MARKERS['comment']}\n## Trueup: <code>orders</code>: better\n\n| a | b |\n|---|---|\n| 1 | +0.1 (95 %) |\n"
SHA = "a" * 40


@pytest.fixture
def host():
    with serving() as host:
        yield host


@pytest.fixture
def post(command_line, tmp_path, monkeypatch):
    """Says `trueup ci post` with the variables of a CI server."""
    said = command_line(tmp_path)
    monkeypatch.setattr("time.sleep", lambda _: None)
    for name in os.environ:
        if name.startswith(("GITHUB_", "CI_", "HEAD_")):
            monkeypatch.delenv(name)
    (tmp_path / "comment.md").write_text(COMMENT)

    def say(*words, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return said("ci", "post", *words)

    say.file = tmp_path / "comment.md"
    return say


def github(host, **more):
    head = {"HEAD_SHA": SHA, "HEAD_BRANCH": "more/rows", "HEAD_REPOSITORY": "ada/shop"}
    host.pulls = [
        {"number": number, "head": {"sha": sha, "ref": "more/rows", "repo": {"full_name": "ada/shop"}}}
        for number, sha in ((6, "b" * 40), (7, SHA))
    ]
    return {"GITHUB_API_URL": host.url, "GITHUB_REPOSITORY": "o/shop", "GITHUB_TOKEN": TOKEN, **head, **more}


def test_one_comment_is_written_and_then_updated(host, post):
    stranger = {"id": 1, "user": {"login": "mallory"}, "body": COMMENT}
    host.comments[7] = [stranger, *({"id": n, "user": {"login": "eve"}, "body": "."} for n in range(2, 160))]
    done = post(str(post.file), **github(host))
    assert (done.code, done.out.strip()) == (0, "comment of #7 written"), done.err
    post.file.write_text(COMMENT.replace("better", "worse"))
    host.broken = 1
    assert post(str(post.file)).out.strip() == "comment of #7 updated"
    own = [c for c in host.comments[7] if c["user"]["login"] == "github-actions[bot]"]
    assert len(own) == 1
    assert "worse" in own[0]["body"]
    assert stranger["body"] == COMMENT, "a comment of somebody else with the marker is left alone"
    assert 6 not in host.comments, "the pull request is that of the commit"


def test_a_commit_that_is_no_head_any_more_gets_no_comment(host, post):
    variables = github(host)
    host.pulls = host.pulls[:1]
    assert "a newer push has its own comparison" in post(str(post.file), **variables).out
    assert host.comments == {}


def test_without_a_report_the_comment_says_so_instead_of_an_older_verdict(host, post):
    assert post(str(post.file), **github(host)).code == 0
    post.file.unlink()
    done = post(str(post.file), "--outcome", "failure", GITHUB_SERVER_URL="https://github.com", REPORT_RUN_ID="9")
    assert done.code == 0, done.err
    (comment,) = host.comments[7]
    assert "The comparison ended without a result (failure)" in comment["body"]
    assert "[run](https://github.com/o/shop/actions/runs/9)" in comment["body"]


def test_what_a_stranger_wrote_can_do_nothing(host, post):
    evil = "@ada &#64;ada #1 !1 ~bug [x](https://evil.example) ![i](http://evil.example/i.png) <img src=x> www.evil.example\n"
    post.file.write_text(
        "/close\n" + evil + "[y]: http://evil.example\n<!-- hidden -->\n\u202etext\n" + "x\n" * 200_000
    )
    assert post(str(post.file), **github(host)).code == 0
    body = host.comments[7][0]["body"]
    assert body.startswith(MARKERS["comment"])
    assert len(body) <= LONGEST
    for live in (
        "\n/close",
        "@ada",
        "&#64;ada",
        "#1",
        "!1",
        "~bug",
        "](",
        "![",
        "<img",
        "://",
        "www.",
        "\n<!--",
        "\u202e",
        "]:",
    ):
        assert live not in body, live


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_report_that_is_no_plain_file_is_refused(host, post, tmp_path, kind):
    target = tmp_path / "report"
    {
        "link": lambda: target.symlink_to("/etc/passwd"),
        "pipe": lambda: os.mkfifo(target),
        "folder": target.mkdir,
    }[kind]()
    done = post(str(target), **github(host))
    assert done.code == 1
    assert "name the report's file" in " ".join(done.err.split())
    assert host.comments == {}


def test_own_comments_stay_as_they_are_to_the_eye():
    shown = (
        "## Trueup: <code>a_b</code>: ✅ better\n- 95 % of 1,200 rows (0.1 to 0.2)\n```text\nE  assert 1 == 2\n```\n"
    )
    assert harmless(shown) == shown
    assert harmless("<sub>[run](https://h/r/1)</sub>", "https://h/r/1") == "<sub>[run](https://h/r/1)</sub>"


def test_an_issue_is_opened_once_updated_and_closed(host, post):
    variables = github(host)
    post.file.write_text("# trueup audit in prod: 1 finding\n\n## retrains\n\norders is overdue\n")
    as_issue = (str(post.file), "--as", "issue", "--outcome")
    assert post(*as_issue, "success", **variables).out.strip() == "nothing to report, and no issue is open"
    assert post(*as_issue, "failure").out.strip() == "issue opened"
    assert post(*as_issue, "failure").out.strip() == "issue #1 updated"
    (issue,) = host.issues
    assert issue["title"] == "trueup audit in prod: 1 finding"
    assert "orders is overdue" in issue["body"]
    assert post(*as_issue, "success").out.strip() == "issue #1 closed"
    assert host.issues[0]["state"] == "closed"


def test_gitlab_gets_the_same(host, post):
    variables = {"CI_API_V4_URL": host.url, "CI_PROJECT_ID": "12", "CI_MERGE_REQUEST_IID": "3"}
    done = post(str(post.file), **variables)
    assert (done.code, "TRUEUP_GITLAB_TOKEN, a project access token, is not set" in done.out) == (0, True)
    host.comments[3] = [{"id": 1, "author": {"id": 99}, "body": COMMENT}]
    assert post(str(post.file), TRUEUP_GITLAB_TOKEN=TOKEN).out.strip() == "comment of !3 written"
    assert post(str(post.file)).out.strip() == "comment of !3 updated"
    assert len(host.comments[3]) == 2
    as_issue = (str(post.file), "--as", "issue", "--outcome")
    for outcome, words in (
        ("failure", "issue opened"),
        ("failure", "issue #1 updated"),
        ("success", "issue #1 closed"),
    ):
        assert post(*as_issue, outcome).out.strip() == words


def test_wrong_calls_say_what_is_missing(host, post):
    done = post(str(post.file))
    assert (done.code, "neither GITHUB_REPOSITORY nor CI_PROJECT_ID is set" in " ".join(done.err.split())) == (2, True)
    done = post(str(post.file), GITHUB_REPOSITORY="o/shop")
    assert (done.code, "GITHUB_TOKEN is not set" in done.err) == (2, True)
    done = post(str(post.file), GITHUB_TOKEN="wrong", GITHUB_API_URL=host.url)
    assert (done.code, "HEAD_SHA, HEAD_REPOSITORY, HEAD_BRANCH not set" in " ".join(done.err.split())) == (2, True)
    done = post(str(post.file), **github(host, GITHUB_TOKEN="wrong"))
    assert (done.code, "401" in done.err, "check the rights of the token" in " ".join(done.err.split())) == (
        1,
        True,
        True,
    )
