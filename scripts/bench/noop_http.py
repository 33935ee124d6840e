"""The control: a FastAPI application with one route that does nothing, served as Soma is."""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Body(BaseModel):
    """Any payload."""

    payload: dict[str, Any]


@app.post("/noop")
async def noop(body: Body) -> dict[str, bool]:
    """Give nothing back."""
    return {"ok": True}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
