"""The address of the job's image, where the settings name versions and not an image."""

from __future__ import annotations

from importlib import import_module

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONE = "none"
"""As ``transformers_version``: an image with PyTorch alone."""


def address(arguments: dict[str, Any], region: str) -> str:
    """Return the image for the versions, by the map in the SageMaker SDK.

    Raises:
        AccelError: the SDK isn't there, or has no image for these versions, this instance type and region.
    """
    versions = {name: arguments[name] for name in ("pytorch_version", "transformers_version", "py_version")}
    try:
        image_uris = import_module("sagemaker.core.image_uris")
    except ImportError:
        raise AccelError(
            "image_uri isn't set, and finding the image for "
            + ", ".join(f"{name} {text}" for name, text in versions.items())
            + " needs the SageMaker SDK: pip install 'accel-sagemaker[sagemaker]', or name an image with --image_uri"
        ) from None
    alone = str(arguments["transformers_version"]).lower() == NONE
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
            py_version=arguments["py_version"],
            instance_type=arguments["instance_type"],
            image_scope="training",
        )
    except (ValueError, KeyError) as error:
        why = " ".join(str(error).split())
        cpu = " (for an instance without a GPU give --transformers_version none)" if "processor" in why else ""
        said = ", ".join(f"{name} {text}" for name, text in versions.items())
        raise AccelError(
            f"SageMaker has no image with {said} for {arguments['instance_type']} in {region}: {why}{cpu}. "
            "Give versions that go together, or an image with --image_uri"
        ) from None
    return found
