"""Writes a report as the comment of a pull request or as an issue, and updates the one that is there.

Only the standard library is used, because workflows hold this file as a step: the job that may write comments checks out and
installs nothing. The report comes from a job that has run the code of a pull request, so it is made harmless here again.
"""

import json
import os
import re
import stat
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

MARKERS = {"comment": "<!-- trueup:ci -->", "issue": "<!-- trueup:audit -->"}
SUCCESS = "success"  # as GitHub and GitLab name the outcome of a step
LONGEST = 65_000  # characters: GitHub takes 65,536
_BOT = "github-actions[bot]"  # the author of what GITHUB_TOKEN writes
_PAGE, _PAGES = 100, 50
_TAG = re.compile("<(?!/?(?:code|details|summary|sub)>)")  # but these, of our own comment
_APART = "\u200b"  # of no width
# What hosts read as a mention, a reference, a link or, at the start of a line, a command.
_ACTIVE = re.compile(
    r"&#?\w+;|@|(?<!&)#(?=\w)|[!~%$&^](?=[\w\"\[])|\]\s*(?=[(:\[])|://|\bwww(?=\.)|\bGH(?=-\d)|\[(?=\w+:)|^\s*(?=/)",
    re.IGNORECASE | re.MULTILINE,
)


class Refused(Exception):
    """A report or a host that cannot be used, with the next step."""


class Unset(Refused):
    """A variable that the CI server sets is missing, or is wrong."""


class _NoRedirect(HTTPRedirectHandler):
    """The token goes to no other address."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Api:
    """Requests to one host."""

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        if not address.startswith(("https://", "http://")):
            raise Unset(f"{address[:80]!r} is no address of an API; set it as the CI server does")
        self._address, self._headers = address.rstrip("/"), {**headers, "Content-Type": "application/json"}
        self._open = build_opener(_NoRedirect()).open

    def __call__(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """The JSON of an answer. Reads and updates are tried three times. Raises Refused."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._address + path, data, dict(self._headers), method=method)
        for wait in (2, 8, 0):
            try:
                with self._open(request, timeout=30) as answer:
                    return json.loads(answer.read())
            except HTTPError as error:
                with error:
                    said = error.read(300).decode(errors="replace")
                if error.code not in {429, 500, 502, 503, 504} or method == "POST" or not wait:
                    raise Refused(f"{method} {path}: {error.code} {said}; check the rights of the token") from None
            except (URLError, TimeoutError, ValueError) as error:
                if method == "POST" or not wait:
                    raise Refused(f"{method} {path}: {error}; check the address and the network") from None
            time.sleep(wait)
        raise AssertionError

    def all(self, path: str) -> Iterator[dict[str, Any]]:
        """The entries of all pages of a list."""
        for page in range(1, _PAGES + 1):
            entries = self("GET", f"{path}{'&' if '?' in path else '?'}per_page={_PAGE}&page={page}")
            yield from entries
            if len(entries) < _PAGE:
                return


def post(kind: str, file: str, outcome: str, env: Mapping[str, str]) -> str:
    """Write a report by the CI server's variables, and say in a line what was done. Raises Refused.

    `kind` is comment or issue. `outcome` is that of the step which made the report. An issue is closed when it is `SUCCESS`, and not opened.
    """
    text = report(kind, file, outcome, env)
    if env.get("GITHUB_REPOSITORY"):
        return _github(kind, text, outcome, env)
    if env.get("CI_PROJECT_ID"):
        return _gitlab(kind, text, outcome, env)
    raise Unset("neither GITHUB_REPOSITORY nor CI_PROJECT_ID is set; set the variables of your CI server")


def _github(kind: str, text: str, outcome: str, env: Mapping[str, str]) -> str:
    if not env.get("GITHUB_TOKEN"):
        raise Unset("GITHUB_TOKEN is not set; give the step `github.token`")
    agreed = {"Authorization": f"Bearer {env['GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"}
    api = Api(env.get("GITHUB_API_URL", "https://api.github.com"), agreed)
    root, author = f"/repos/{env['GITHUB_REPOSITORY']}", env.get("TRUEUP_BOT", _BOT)

    def mine(entry: dict[str, Any]) -> bool:
        return bool((entry.get("user") or {}).get("login") == author and "pull_request" not in entry)

    if kind == "issue":
        issues = api.all(f"{root}/issues?state=open&creator={quote(author)}")
        there = _found(issues, "issue", "number", "body", mine)
        return _issue(
            api, f"{root}/issues", "PATCH", there, _fields(text, "body", outcome, {"state": "closed"}), outcome
        )
    number = _pull_request(api, root, env)
    if number is None:
        return "no open pull request has this commit as its head; a newer push has its own comparison"
    there = _found(api.all(f"{root}/issues/{number}/comments"), "comment", "id", "body", mine)
    if there:
        api("PATCH", f"{root}/issues/comments/{there}", {"body": text})
    else:
        api("POST", f"{root}/issues/{number}/comments", {"body": text})
    return f"comment of #{number} {'updated' if there else 'written'}"


def _pull_request(api: Api, root: str, env: Mapping[str, str]) -> int | None:
    """The open pull request with this head, by the event and the API, never by the report."""
    missing = [name for name in ("HEAD_SHA", "HEAD_REPOSITORY", "HEAD_BRANCH") if not env.get(name)]
    if missing:
        raise Unset(f"{', '.join(missing)} not set; take them from the event `workflow_run`")
    owner = env["HEAD_REPOSITORY"].split("/")[0]
    for pull in api.all(f"{root}/pulls?state=open&head={quote(owner)}:{quote(env['HEAD_BRANCH'], safe='')}"):
        head = pull["head"]
        if head["sha"] == env["HEAD_SHA"] and (head.get("repo") or {}).get("full_name") == env["HEAD_REPOSITORY"]:
            return int(pull["number"])
    return None


def _gitlab(kind: str, text: str, outcome: str, env: Mapping[str, str]) -> str:
    if not env.get("TRUEUP_GITLAB_TOKEN"):
        return f"no {kind} written: the masked variable TRUEUP_GITLAB_TOKEN, a project access token, is not set"
    api = Api(env["CI_API_V4_URL"], {"PRIVATE-TOKEN": env["TRUEUP_GITLAB_TOKEN"]})
    root, me = f"/projects/{quote(env['CI_PROJECT_ID'], safe='')}", api("GET", "/user")["id"]

    def mine(entry: dict[str, Any]) -> bool:
        return bool((entry.get("author") or {}).get("id") == me)

    if kind == "issue":
        issues = api.all(f"{root}/issues?state=opened&scope=all&author_id={me}")
        there = _found(issues, "issue", "iid", "description", mine)
        fields = _fields(text, "description", outcome, {"state_event": "close"})
        return _issue(api, f"{root}/issues", "PUT", there, fields, outcome)
    if not env.get("CI_MERGE_REQUEST_IID", "").isdigit():
        raise Unset("CI_MERGE_REQUEST_IID is not set; run this in a pipeline of a merge request")
    notes = f"{root}/merge_requests/{env['CI_MERGE_REQUEST_IID']}/notes"
    there = _found(api.all(f"{notes}?sort=asc"), "comment", "id", "body", mine)
    api("PUT" if there else "POST", f"{notes}/{there}" if there else notes, {"body": text})
    return f"comment of !{env['CI_MERGE_REQUEST_IID']} {'updated' if there else 'written'}"


def _found(
    entries: Iterator[dict[str, Any]], kind: str, number: str, body: str, mine: Callable[[dict[str, Any]], bool]
) -> int | None:
    """The number of the entry that an earlier run has written."""
    return next((int(e[number]) for e in entries if mine(e) and (e.get(body) or "").startswith(MARKERS[kind])), None)


def _fields(text: str, body: str, outcome: str, closing: Mapping[str, str]) -> dict[str, str]:
    """The fields of an issue. The first heading is its title."""
    title = next((line.lstrip("# ") for line in text.splitlines()[1:] if line.strip()), "trueup audit")
    return {"title": title[:200], body: text, **(closing if outcome == SUCCESS else {})}


def _issue(api: Api, issues: str, update: str, there: int | None, fields: Mapping[str, str], outcome: str) -> str:
    if there is not None:
        api(update, f"{issues}/{there}", fields)
        return f"issue #{there} {'closed' if outcome == SUCCESS else 'updated'}"
    if outcome == SUCCESS:
        return "nothing to report, and no issue is open"
    api("POST", issues, fields)
    return "issue opened"


def report(kind: str, file: str, outcome: str, env: Mapping[str, str]) -> str:
    """The text of a report: of plain text only, and not too long. A missing file is reported, too. Raises Refused."""
    run = _link(env)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        heading = "## Trueup: no comparison" if kind == "comment" else "# trueup audit: no result"
        made = "comparison" if kind == "comment" else "audit"
        where = f"; see the [run]({run})" if run else ""
        return f"{MARKERS[kind]}\n{heading}\n\nThe {made} ended without a result{f' ({harmless(outcome)})' if outcome else ''}{where}.\n"
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}; name the report's file") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(f"{file} is no plain file; name the report's file")
        content = os.read(descriptor, LONGEST * 4).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
    body = content.removeprefix(MARKERS[kind]).lstrip()
    text = f"{MARKERS[kind]}\n{harmless(body, run)}"
    return text if len(text) <= LONGEST else text[: text.rfind("\n", 0, LONGEST - 100)] + "\n\n… (cut: too long)\n"


def harmless(text: str, allowed: str = "") -> str:
    r"""Markdown in which nothing mentions, links, refers, commands or is HTML, but for the link to the run.

    >>> harmless("a <b>x</b> @ada").replace("\u200b", "|")
    'a &lt;|b>x&lt;|/b> @|ada'
    """
    plain = "".join(c for c in text if c == "\n" or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"})
    parts = re.split(f"({re.escape(f']({allowed})')})", plain) if allowed else [plain]
    return "".join(part if allowed and part == f"]({allowed})" else _quiet(part) for part in parts)


def _quiet(text: str) -> str:
    return _ACTIVE.sub(lambda found: found[0].replace("://", f":{_APART}//") + _APART, _TAG.sub("&lt;", text))


def _link(env: Mapping[str, str]) -> str:
    """The address of the run that made the report."""
    server, repository, run = env.get("GITHUB_SERVER_URL"), env.get("GITHUB_REPOSITORY"), env.get("REPORT_RUN_ID")
    own = f"{server}/{repository}/actions/runs/{run or env.get('GITHUB_RUN_ID', '')}"
    return own if server and repository else env.get("CI_JOB_URL", "")


if __name__ == "__main__":
    try:
        # In a workflow's step, which has no arguments.
        print(post(os.environ["POST_AS"], os.environ["POST_FILE"], os.environ.get("POST_OUTCOME", ""), os.environ))
    except Refused as refused:
        sys.exit(str(refused))
