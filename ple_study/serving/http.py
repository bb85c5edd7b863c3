"""A published model over HTTP, by FastAPI.

::

    import uvicorn
    from ple_study.serving.http import app

    uvicorn.run(app("service"), port=8000)

``POST /answer`` takes a record or a list of them and answers a list; with
``?explain=true`` each has its explanation. ``GET /schema`` answers what is expected.
A record that does not fit is a 422 with a body as FastAPI's own, and the record's place
in ``loc`` where a list was sent::

    {"detail": [{"type": "finite_number", "loc": ["body", 0, "age"], "msg": "..."}]}
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ple_study.serving.numbers import RecordError
from ple_study.serving.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI


def app(folder: str | Path, *, threads: int = 1) -> "FastAPI":
    """The application; ``threads`` of ONNX Runtime a request, whose own are many.

    Raises ValueError as ``Service.load`` does, and without FastAPI.
    """
    if find_spec("fastapi") is None:
        raise ValueError(
            "HTTP needs `pip install 'ple-study[serve]'`. Found no fastapi."
        )
    from fastapi import Body, FastAPI, HTTPException
    from fastapi.responses import JSONResponse

    service = Service.load(folder, threads=threads)
    served = FastAPI(title="ple_study", description=__doc__)

    @served.post("/answer")
    def answer(body: Annotated[Any, Body()], explain: bool = False) -> JSONResponse:
        if explain and service.about["explanation"] is None:
            asked = {"type": "value_error", "loc": ["query", "explain"]}
            message = "must be false: this model was published without explanation."
            raise HTTPException(422, [asked | {"msg": message}])
        try:
            return JSONResponse(service.answer(body, explain=explain))
        except RecordError as error:
            raise HTTPException(422, [detail(error, isinstance(body, list))]) from error

    @served.get("/schema")
    def schema() -> dict[str, Any]:
        return service.about

    return served


def detail(error: RecordError, listed: bool) -> dict[str, Any]:
    """An error as FastAPI words its own; ``listed``: whether a list was sent."""
    place = [error.row] if listed and error.row is not None else []
    where = [x if isinstance(x, int) else _sent(x) for x in error.path]
    return {
        "type": error.kind,
        "loc": ["body", *place, *where],
        "msg": _sent(str(error)),
    }


def _sent(text: str) -> str:
    """A text that UTF-8 can say: half a pair of surrogates is written out."""
    return text.encode(errors="backslashreplace").decode()
