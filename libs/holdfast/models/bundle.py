"""A trained model with all it takes to use it: the trainer writes bundles, the backtester reads them. Owns their files.

    model.safetensors   the best model's tensors
    final.safetensors   the last epoch's, for whoever wants to compare; never traded
    bundle.json         the strategy, the inputs' names and normalisation, labels, metrics, digests (exact JSON)
    history.json        one record per epoch, exact floats

Nothing in them depends on the clock, the attempt or the worker: a resumed training writes the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.artifacts import exact
from holdfast.artifacts.manifest import read_artifacts
from holdfast.artifacts.store import Buffer, Store
from holdfast.artifacts.tensors import pack_tensors, unpack_tensors
from holdfast.errors import Corrupted, HoldfastError, NotFound
from holdfast.features.normalisation import Normalisation
from holdfast.models.networks import Scaled, build_model
from holdfast.strategy import CLASSES, Strategy, parse_strategy

__all__ = ["BUNDLE", "FINAL", "HISTORY", "MODEL", "Bundle", "bundle_files", "load_bundle"]

FORMAT = 1
MODEL, FINAL, BUNDLE, HISTORY = "model.safetensors", "final.safetensors", "bundle.json", "history.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle.

    `model` is on the CPU, in eval mode, without gradients. It takes normalised inputs, shape (batch, inputs), or
    (batch, window, inputs) for lstm and gru (networks.InputWindows cuts them), and gives (batch, outputs):
    class scores before the softmax in the order of `classes`, or the predicted return as a fraction.
    """

    path: str
    # SHA-256 over the names and contents of the files.
    content_digest: str
    strategy: Strategy
    model_digest: str
    input_names: list[str]
    normalisation: Normalisation
    classes: list[str]
    window: int
    metrics: dict[str, float]
    data_digest: str
    fingerprint: dict[str, str]
    history: list[dict[str, float]] = field(repr=False)
    model: nn.Module = field(repr=False)


def bundle_files(
    *,
    strategy: Strategy,
    input_names: Sequence[str],
    normalisation: Normalisation,
    output_scale: float,
    best: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    best_epoch: int,
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
    data_digest: str,
    fingerprint: Mapping[str, str],
) -> dict[str, Buffer | Sequence[Buffer]]:
    """The files of a bundle. `output_scale` times the network's output is a return; 1 for classes."""
    description = {
        "format": FORMAT,
        "strategy": json.loads(strategy.canonical_json()),
        "strategy_name": strategy.name,
        "model_digest": strategy.model_digest(),
        "input_names": list(input_names),
        "input_dim": len(input_names),
        "output_dim": strategy.output_dim,
        "window": strategy.model.window,
        "output_scale": output_scale,
        "normalisation": normalisation.to_json(),
        "labels": strategy.training.labels.model_dump(mode="json"),
        "classes": list(CLASSES) if strategy.decisions.type == "classification" else [],
        "best_epoch": best_epoch,
        "metrics": dict(metrics),
        "data_digest": data_digest,
        "fingerprint": dict(fingerprint),
    }
    return {
        MODEL: pack_tensors(best),
        FINAL: pack_tensors(final),
        BUNDLE: exact.dumps(description),
        HISTORY: exact.dumps([dict(record) for record in history]),
    }


def load_bundle(store: Store, path: str, manifest_digest: str = "") -> Bundle:
    """Reads, verifies and builds.

    Raises NotFound (MODEL_NOT_FOUND), Corrupted (MODEL_CORRUPTED), or InvalidRequest for what is no path of a store.
    """
    try:
        artifacts = read_artifacts(store, path, manifest_digest)
    except NotFound as error:
        raise NotFound(
            f"There is no model at {path} in {store.url}. Train the strategy again.",
            reason="MODEL_NOT_FOUND",
            metadata={"uri": path},
        ) from error
    except Corrupted as error:
        raise _corrupted(path, error.message) from error
    try:
        described = exact.loads(artifacts.files[BUNDLE])
        history = exact.loads(artifacts.files[HISTORY])
        if described["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        strategy = parse_strategy(json.dumps(described["strategy"]), source=f"the strategy in {path}")
        input_names = _texts(described["input_names"])
        normalisation = Normalisation.from_json(described["normalisation"])
        model = _build(strategy, len(input_names), described["output_scale"], artifacts.files[MODEL])
        if described["model_digest"] != strategy.model_digest():
            raise ValueError("its strategy and its model_digest contradict each other")
        return Bundle(
            path=artifacts.path,
            content_digest=artifacts.content_digest,
            strategy=strategy,
            model_digest=strategy.model_digest(),
            input_names=input_names,
            normalisation=normalisation,
            classes=_texts(described["classes"]),
            window=strategy.model.window,
            metrics={str(name): float(value) for name, value in described["metrics"].items()},
            data_digest=str(described["data_digest"]),
            fingerprint={str(name): str(value) for name, value in described["fingerprint"].items()},
            history=[dict(record) for record in history],
            model=model,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _corrupted(path, f"{type(error).__name__}: {error}") from error
    except HoldfastError as error:
        raise _corrupted(path, error.message) from error


def _build(strategy: Strategy, input_dim: int, output_scale: Any, content: bytes) -> nn.Module:
    model = build_model(strategy.model, input_dim, strategy.output_dim)
    tensors = unpack_tensors(content, source=MODEL)
    expected = model.state_dict()
    if tensors.keys() != expected.keys():
        raise ValueError(f"{MODEL} has other tensors than the strategy's network")
    with torch.no_grad():
        for name, tensor in expected.items():
            if tensors[name].shape != tensor.shape or tensors[name].dtype != tensor.dtype:
                raise ValueError(f"{name} in {MODEL} has another shape or type than the strategy's network")
            # Copied into memory of torch's own making: the file's bytes may lie unaligned.
            tensor.copy_(tensors[name])
    if type(output_scale) is not float or not 0.0 < output_scale < float("inf"):
        raise ValueError("its output_scale is not a positive number")
    return (model if output_scale == 1.0 else Scaled(model, output_scale)).eval().requires_grad_(False)


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of texts is something else")
    return value


def _corrupted(path: str, problem: str) -> Corrupted:
    return Corrupted(
        f"The model at {path} cannot be used: {problem}. Train the strategy again.",
        reason="MODEL_CORRUPTED",
        metadata={"uri": path},
    )
