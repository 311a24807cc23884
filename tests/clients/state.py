"""A script to launch: what Hugging Face's Accelerator says of the run it finds itself in, from rank 0."""
# pyright: basic, reportMissingImports=false

import json

from accelerate import Accelerator

accelerator = Accelerator()
state = accelerator.state
if accelerator.is_main_process:
    print(
        json.dumps(
            {
                "type": state.distributed_type.name,
                "processes": state.num_processes,
                "backend": state.backend,
                "device": str(accelerator.device),
                "precision": state.mixed_precision,
                "debug": state.debug,
                "dynamo": state.dynamo_plugin.backend.value,
                "mode": state.dynamo_plugin.mode,
                "dynamic": state.dynamo_plugin.dynamic,
            }
        )
    )
accelerator.wait_for_everyone()  # gloo fails where a rank leaves while another still connects
accelerator.end_training()
