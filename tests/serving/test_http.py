"""A server that runs, asked over the network."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from ple_study.fitted import Fitted
from ple_study.serving import http
from ple_study.serving.service import Service
from tests.serving.published import raw, several
from tests.serving.test_service import same_contributions, same_predictions
from tests.studies import mixed

Pair = tuple[Fitted, Service]
GOOD = {"age": 41, "visits": 3, "share": 0.5, "city": "a", "store": 7}


def running(folder: Path) -> Iterator[str]:
    """The address of a server of this folder."""
    config = uvicorn.Config(http.app(folder), port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([own],))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{own.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def table(ple: Pair) -> Iterator[str]:
    yield from running(ple[1].folder)


@pytest.fixture(scope="module")
def whole(cheap: Pair) -> Iterator[str]:
    yield from running(cheap[1].folder)


def ask(address: str, body: Any = None) -> tuple[int, Any]:
    """The status and what the server says; a body is posted."""
    data = (
        body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    )
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_one_record_and_a_list_are_answered(table: str, ple: Pair) -> None:
    own, service = ple
    status, answers = ask(f"{table}/answer", GOOD)
    assert (status, answers) == (200, service.answer(GOOD))
    batch = mixed(rows=7, seed=4).rows.batch
    status, answers = ask(f"{table}/answer", raw(own.schema, batch))
    assert status == 200
    same_predictions(own, batch, answers)
    status, answers = ask(f"{table}/answer?explain=true", GOOD)
    assert answers == service.answer(GOOD, explain=True)


def test_a_heterogeneous_model_explains_on_demand(whole: str, cheap: Pair) -> None:
    own, batch = cheap[0], several(5)
    records = raw(own.schema, batch)
    _, answers = ask(f"{whole}/answer", records)
    assert list(answers[0]) == ["predictions", "uncertainty"]
    status, answers = ask(f"{whole}/answer?explain=true", records)
    assert status == 200
    same_predictions(own, batch, answers)
    same_contributions(own, batch, answers)


def test_the_schema_says_what_is_expected(table: str, ple: Pair) -> None:
    status, found = ask(f"{table}/schema")
    assert (status, found) == (200, ple[1].about)
    names = [feature["name"] for feature in found["schema"]["features"]]
    assert sorted(names) == sorted(GOOD)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("change", "kind", "loc"),
    [
        ({"age": None}, "float_type", ["age"]),
        ({"age": "41"}, "float_type", ["age"]),
        ({"age": float("nan")}, "finite_number", ["age"]),
        ({"aged": 3}, "extra_forbidden", ["aged"]),
        ({"city": 3}, "string_type", ["city"]),
        ({"age": ...}, "missing", ["age"]),
    ],
)
def test_a_wrong_column_is_a_422_that_names_it(
    table: str, change: dict[str, Any], kind: str, loc: list[str], listed: bool
) -> None:
    record = {k: v for k, v in (GOOD | change).items() if v is not ...}
    body = [GOOD, record] if listed else record
    status, answer = ask(f"{table}/answer", body)
    (error,) = answer["detail"]
    place = [1] if listed else []
    assert (status, error["type"], error["loc"]) == (422, kind, ["body", *place, *loc])
    assert f"{loc[0]!r} of record {len(place)} must be" in error["msg"]
    assert set(error) == {"type", "loc", "msg"}


@pytest.mark.parametrize(
    ("name", "shown"), [("\ud800", "\\ud800"), ("x" * 999, "x" * 60)]
)
def test_a_name_that_cannot_be_said_is_said_another_way(
    table: str, name: str, shown: str
) -> None:
    status, answer = ask(f"{table}/answer", GOOD | {name: 1})
    (error,) = answer["detail"]
    assert (status, error["loc"]) == (422, ["body", shown])
    assert len(error["msg"]) < 300


def test_a_wrong_step_is_named_by_its_place(whole: str, cheap: Pair) -> None:
    (record,) = raw(cheap[0].schema, several(1))
    record["events"]["txn"]["values"][3] = [1.0, 2.0]
    status, answer = ask(f"{whole}/answer", record)
    (error,) = answer["detail"]
    assert (status, error["type"]) == (422, "too_short")
    assert error["loc"] == ["body", "events", "txn", "values", 3]
    assert "'events.txn.values[3]'" in error["msg"]


@pytest.mark.plain
@pytest.mark.parametrize(
    ("body", "kind", "loc"),
    [
        ([], "too_short", ["body"]),
        ([GOOD, 3], "dict_type", ["body", 1]),
        ("age", "list_type", ["body"]),
        (b"{", "json_invalid", ["body", 1]),
        (b"", "missing", ["body"]),
        (b"null", "list_type", ["body"]),
    ],
)
def test_a_body_that_is_no_record_is_a_422(
    table: str, body: Any, kind: str, loc: list[Any]
) -> None:
    status, answer = ask(f"{table}/answer", body)
    (error,) = answer["detail"]
    assert (status, error["type"], error["loc"]) == (422, kind, loc)


def test_what_was_not_published_is_not_explained(
    table: str, ple: Pair, tmp_path: Path
) -> None:
    for file in ("model.onnx", "schema.json"):
        text = (ple[1].folder / file).read_bytes()
        (tmp_path / file).write_bytes(text)
    about = json.loads((tmp_path / "schema.json").read_text())
    (tmp_path / "schema.json").write_text(json.dumps(about | {"explanation": None}))
    for address in running(tmp_path):
        status, answer = ask(f"{address}/answer?explain=true", GOOD)
        (error,) = answer["detail"]
        assert (status, error["loc"]) == (422, ["query", "explain"])
        assert "published without explanation" in error["msg"]
        assert ask(f"{address}/answer", GOOD) == ask(f"{table}/answer", GOOD)


def test_many_ask_at_once(table: str, ple: Pair) -> None:
    wanted, found = ple[1].answer(GOOD), []
    threads = [
        threading.Thread(target=lambda: found.append(ask(f"{table}/answer", GOOD)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(200, wanted)] * 8


def test_without_fastapi_it_says_how_to_get_it(
    ple: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"ple-study\[serve\].*no fastapi"):
        http.app(ple[1].folder)
