"""The artifact store in an S3 bucket, by obstore. Objects are durable when put returns; the manifest is put last."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from holdfast.artifacts.store import MANIFEST, UNFINISHED, Parts, StoredFile, safe_name, safe_path, size_of
from holdfast.errors import StoreFull, Unavailable

__all__ = ["S3Store"]

# Amazon's S3 is never full. Servers that speak its protocol are: 507, or these codes (MinIO, Ceph).
_FULL = ("XMinioStorageFull", "507 Insufficient Storage", "QuotaExceeded", "InsufficientStorage")


class S3Store:
    """A bucket, or a prefix of one. Settings come from the AWS_* environment variables."""

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.store import S3Store as Bucket
        except ModuleNotFoundError as error:
            raise Unavailable(
                "An S3 artifact store needs obstore. Install it with `pip install 'holdfast-quant[store]'`.",
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

    def create(self, path: str, content: bytes) -> None:
        from obstore.exceptions import AlreadyExistsError

        with self._answering():
            try:
                self._obstore.put(self._bucket, safe_path(path), content, mode="create")
            except AlreadyExistsError as error:
                raise FileExistsError(f"{self._url}/{path} is there already") from error

    def write_new(
        self, prefix: str, files: Mapping[str, Parts], manifest: Callable[[], bytes], unfinished: bytes = b"{}"
    ) -> None:
        from obstore.exceptions import AlreadyExistsError, BaseError

        if self._is_there(f"{safe_path(prefix)}/{MANIFEST}"):
            raise FileExistsError(f"{self._url}/{prefix} already holds a manifest: nothing is ever written over")
        made = [f"{prefix}/{UNFINISHED}"]
        try:
            self._obstore.put(self._bucket, made[0], unfinished)
            for name, parts in files.items():
                made.append(f"{prefix}/{safe_name(name)}")
                self._obstore.put(self._bucket, made[-1], _joined(parts))
            self._obstore.put(self._bucket, f"{prefix}/{MANIFEST}", manifest(), mode="create")
        except AlreadyExistsError as error:
            # What stands there is a whole directory of the same name: it is not taken apart.
            raise FileExistsError(
                f"{self._url}/{prefix} already holds a manifest: nothing is ever written over"
            ) from error
        except BaseException as error:
            self._take_back(made, error)
            if isinstance(error, BaseError) and any(code in str(error) for code in _FULL):
                needed = sum(size_of(parts) for parts in files.values())
                problem = "its server has no room, or a quota is used up"
                raise StoreFull(f"{self._url}/{prefix}", needed, problem=problem) from error
            raise
        self._obstore.delete(self._bucket, made[0])

    def _is_there(self, path: str) -> bool:
        try:
            self._obstore.head(self._bucket, path)
        except FileNotFoundError:
            return False
        return True

    def _take_back(self, made: list[str], error: BaseException) -> None:
        from obstore.exceptions import BaseError

        for path in reversed(made):
            try:
                self._obstore.delete(self._bucket, path)
            except FileNotFoundError:
                continue  # the one that failed
            except BaseError as problem:
                error.add_note(f"{path} was left behind: {problem}")

    def read(self, path: str, *, max_bytes: int) -> bytes:
        with self._answering():
            answer = self._obstore.get(self._bucket, safe_path(path))
            size = int(answer.meta["size"])
            if size > max_bytes:
                raise ValueError(f"{path} has {size} bytes, more than the {max_bytes} expected")
            return bytes(answer.bytes())

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        with self._answering():
            for batch in self._obstore.list(self._bucket, prefix=safe_path(prefix) if prefix else None):
                for item in batch:
                    yield StoredFile(item["path"], int(item["size"]), item["last_modified"].timestamp())

    def delete(self, prefix: str) -> int:
        files = list(self.list(safe_path(prefix)))
        # The manifest first: no half of a directory may look whole.
        files.sort(key=lambda file: not file.path.endswith(f"/{MANIFEST}"))
        with self._answering():
            for file in files:
                self._obstore.delete(self._bucket, file.path)
        return sum(file.size for file in files)

    def move(self, prefix: str, target: str) -> None:
        files = list(self.list(safe_path(prefix)))
        if next(self.list(safe_path(target)), None) is not None:
            raise FileExistsError(f"{self._url}/{target} is there already")
        with self._answering():
            for file in files:
                self._obstore.copy(self._bucket, file.path, f"{target}{file.path.removeprefix(prefix)}")
        self.delete(prefix)

    def empty_directories(self) -> Sequence[str]:
        return []  # a bucket has none

    def remove_empty(self, prefix: str) -> bool:
        return False

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What the bucket answers, as errors that callers know: a missing object, or an unavailable store."""
        from obstore.exceptions import BaseError, NotFoundError

        try:
            yield
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from error
        except BaseError as error:
            raise Unavailable(
                f"The artifact store {self._url} does not answer as it should: {error}. Check the bucket, the AWS_* "
                "environment variables and the network, and call again.",
                reason="STORE_UNAVAILABLE",
                metadata={"store": self._url},
            ) from error


def _joined(parts: Parts) -> bytes:
    return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
