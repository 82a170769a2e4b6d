"""The method as a policy of LeRobot: `--policy.type=inspire_vla`. These five files are the policy:

configuration_inspire_vla.py  the three choices and their options     processor_inspire_vla.py  text, codes and masks
modeling_inspire_vla.py       a training step, decisions                training.py               a training by LeRobot
agent.py                      a checkpoint that takes observations and gives decisions

They use build_model.py (backbone and expert), losses.py, prompt_builder.py (instruction → dialogue) and text_files.py.
Around them: checkpoints.py and checkpoint_schema.py (files of a checkpoint, checked before they are read),
training_start.py, action_fit.py, gripper_check.py and rounding_error.py (checks before a training), frame_cache.py
(decoded images), named_images.py (errors that name an image), position_loss.py (an arm of the experiment),
observation_forms.py, attention.py (attention maps), lerobot_host.py (the inside of LeRobot), convert/ (published
weights).
"""
