"""Manifests against schemas: KubeRay's from kuberay.yaml, Kubernetes' own from the models of its Python client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes.client
import yaml

SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay.yaml").read_text(encoding="utf-8"))


def errors(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with one document, each with its path; empty where nothing is."""
    kind = manifest["kind"]
    if kind not in SCHEMA["$defs"]:
        return list(model_errors(manifest, f"V1{kind}"))
    schema = {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}
    return [f"{error.json_path}: {error.message}" for error in Validator(schema).iter_errors(manifest)]


def model_errors(value: Any, kind: str) -> Iterator[str]:
    """What is wrong with a value of a model of the client: unknown, missing or mistyped fields."""
    try:
        getattr(kubernetes.client, kind).model_validate(value)
    except ValueError as error:
        yield f"{kind}: {error}"


def _kubernetes(validator: Any, kind: str, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    for error in model_errors(instance, kind):
        yield jsonschema.ValidationError(error)


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"x-kubernetes": _kubernetes})
