"""The address of the job's image, if the settings name versions and no image."""

from __future__ import annotations

from importlib import import_module

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONE = "none"
"""The ``transformers_version`` for an image with PyTorch alone."""


def address(arguments: dict[str, Any], region: str) -> str:
    """Return the image for the versions, from the SageMaker SDK.

    Raises:
        AccelError: no version is set; the SDK isn't installed, or has no image for these versions, this instance type
            and region.
    """
    if not arguments.get("pytorch_version"):
        raise AccelError(
            "the job has no image: name one with --image_uri, or the versions of one that Amazon serves with "
            "--pytorch_version (and --transformers_version, --py_version)"
        )
    names = ("pytorch_version", "transformers_version", "py_version")
    versions = {name: arguments[name] for name in names if arguments.get(name)}
    try:
        image_uris = import_module("sagemaker.core.image_uris")
    except ImportError:
        from accel_config.showing.installing import command

        raise AccelError(
            "image_uri isn't set, and finding the image for "
            + ", ".join(f"{name} {text}" for name, text in versions.items())
            + " needs the SageMaker SDK 3 or newer; nothing was sent. "
            + f"Run: {command('accel-sagemaker[sagemaker]')}, or name an image with --image_uri"
        ) from None
    alone = str(arguments.get("transformers_version") or NONE).lower() == NONE
    pytorch: str = arguments["pytorch_version"]
    wanted: dict[str, Any] = {"framework": "pytorch", "version": pytorch}
    if not alone:
        wanted = {
            "framework": "huggingface",
            "version": arguments["transformers_version"],
            "base_framework_version": f"pytorch{pytorch}",
        }
    try:
        found: str = image_uris.retrieve(
            **wanted,
            region=region,
            py_version=arguments.get("py_version"),
            instance_type=arguments["instance_type"],
            image_scope="training",
        )
    except (ValueError, KeyError) as error:
        why = " ".join(str(error).split())
        cpu = " (for an instance without a GPU, give --transformers_version none)" if "processor" in why else ""
        named = ", ".join(f"{name} {text}" for name, text in versions.items())
        raise AccelError(
            f"SageMaker has no image with {named} for {arguments['instance_type']} in {region}: {why}{cpu}. "
            "Give other versions, or an image with --image_uri"
        ) from None
    return found
