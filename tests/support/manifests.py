"""Reads the Kubernetes manifests as `kubectl apply -k` would: only the features of kustomize that they use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    """Return the objects of a kustomization, with its resources, namespace, images and JSON patches applied."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(kustomization) - {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
    assert not unknown, f"{folder} uses {unknown}, which this reader does not know"
    objects = [one for name in kustomization["resources"] for one in _resource(folder / name)]
    for image in kustomization.get("images", ()):
        _name_image(objects, image)
    for patch in kustomization.get("patches", ()):
        _patch(objects, patch)
    for one in objects:
        if one["kind"] != "Namespace":
            one["metadata"]["namespace"] = kustomization["namespace"]
    return objects


def containers(manifest: Manifest) -> list[Manifest]:
    """Return the containers of an object's pods, those for the start included; none for other objects."""
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("initContainers", ()), *pod.get("containers", ())]


def _resource(path: Path) -> list[Manifest]:
    return render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))


def _name_image(objects: list[Manifest], image: dict[str, str]) -> None:
    for one in objects:
        for container in containers(one):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"


def _patch(objects: list[Manifest], patch: dict[str, Any]) -> None:
    target = patch["target"]
    chosen = [one for one in objects if one["kind"] == target["kind"] and one["metadata"]["name"] == target["name"]]
    assert chosen, f"no object for the patch of {target}"
    for one in chosen:
        for step in yaml.safe_load(patch["patch"]):
            *parents, last = step["path"].strip("/").split("/")
            place = one
            for parent in parents:
                place = place[parent]
            assert step["op"] in ("add", "replace")
            assert (last in place) == (step["op"] == "replace")
            place[last] = step["value"]
