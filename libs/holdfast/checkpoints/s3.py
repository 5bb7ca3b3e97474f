"""The artifact store in an S3 bucket, by obstore. Objects are durable when put returns; the manifest is put last."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from holdfast.checkpoints.store import MANIFEST, Parts, StoredFile, safe_name, safe_path
from holdfast.errors import Unavailable


class S3Store:
    """A bucket, or a prefix of one. Settings come from the AWS_* environment variables."""

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.store import S3Store as Bucket
        except ModuleNotFoundError as error:
            raise Unavailable(
                "An S3 artifact store needs the package obstore. Install it with `pip install 'holdfast[store]'`.",
                reason="MISSING_PACKAGE",
            ) from error
        self._url = url.rstrip("/")
        bucket, _, prefix = self._url.removeprefix("s3://").partition("/")
        self._obstore = obstore
        plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
        self._bucket = Bucket(bucket, prefix=prefix or None, client_options={"allow_http": plain})

    @property
    def url(self) -> str:
        return self._url

    def write_new(self, prefix: str, files: Mapping[str, Parts], manifest: Callable[[], bytes]) -> None:
        from obstore.exceptions import AlreadyExistsError

        safe_path(prefix)
        for name, parts in files.items():
            self._obstore.put(self._bucket, f"{prefix}/{safe_name(name)}", _joined(parts))
        try:
            self._obstore.put(self._bucket, f"{prefix}/{MANIFEST}", manifest(), mode="create")
        except AlreadyExistsError as error:
            raise FileExistsError(
                f"{self._url}/{prefix} already holds a manifest: nothing is ever written over"
            ) from error

    def read(self, path: str, *, max_bytes: int) -> bytes:
        answer = self._obstore.get(self._bucket, safe_path(path))
        size = int(answer.meta["size"])
        if size > max_bytes:
            raise ValueError(f"{path} has {size} bytes, more than the {max_bytes} expected")
        return bytes(answer.bytes())

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        for batch in self._obstore.list(self._bucket, prefix=safe_path(prefix) if prefix else None):
            for item in batch:
                yield StoredFile(item["path"], int(item["size"]), item["last_modified"].timestamp())

    def delete(self, prefix: str) -> int:
        files = list(self.list(safe_path(prefix)))
        # The manifest first: no half of a directory may look whole.
        files.sort(key=lambda file: not file.path.endswith(f"/{MANIFEST}"))
        for file in files:
            self._obstore.delete(self._bucket, file.path)
        return sum(file.size for file in files)


def _joined(parts: Parts) -> bytes:
    return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
