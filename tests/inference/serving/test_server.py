"""Start of the server: flags that are refused, before and after it listens."""

import socket

import pytest

from inference.serving import server


def _run(path="", **fields):
  values = {"index": "", "host": "", "port": 0, "token_file": ""}
  return server.run(path, is_run=False, **(values | fields))


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
  monkeypatch.delenv(server.TOKEN_VARIABLE, raising=False)


def test_a_port_that_is_taken():
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(ValueError, match=rf"--port={port} cannot .* in use"):
      _run(port=port)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"port": 70_000}, "--port must be between 0 and 65535; got 70000"),
    ({"host": "no such host"}, "--host=no such host .*needs a token"),
    ({"host": "0.0.0.0"}, "--host=0.0.0.0 lets other machines in, and needs a"),
    ({"token_file": "no.txt"}, "--token_file=no.txt is no file"),
    ({"index": "no"}, "--index=no is no whole index"),
  ],
)
def test_flags(fields, message):
  with pytest.raises(ValueError, match=message):
    _run(**fields)


def test_a_token(tmp_path, monkeypatch):
  file = tmp_path / "token"
  for text in ("short", "a" * 15, "with spaces in it, long", "ä" * 20):
    file.write_text(text)
    with pytest.raises(ValueError, match="at least 16 ASCII characters"):
      server.read_token(str(file))
  file.write_text("s3cret-s3cret-s3cret\n")
  assert server.read_token(str(file)) == "s3cret-s3cret-s3cret"
  assert server.read_token("") == ""
  monkeypatch.setenv(server.TOKEN_VARIABLE, "from-the-environment")
  assert server.read_token("") == "from-the-environment"
  with pytest.raises(ValueError, match="--host=no such host is no address"):
    _run(host="no such host")


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path, capsys):
  with pytest.raises((ValueError, OSError), match="no-model"):
    _run(str(tmp_path / "no-model"))
  assert "Serving http://127.0.0.1:" in capsys.readouterr().err
