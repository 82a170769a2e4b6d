"""The method as a policy of LeRobot: `--policy.type=inspire_vla`.

The policy
    configuration_inspire_vla.py  the three choices and their options
    processor_inspire_vla.py      the preprocessor and the postprocessor
    tokenizer.py                  text, codes and masks; prompt_builder.py: instruction → dialogue
    modeling_inspire_vla.py       a training step, decisions
    agent.py                      a checkpoint that takes observations and gives decisions
    build_model.py, losses.py     backbone and expert; the losses of a step
    position_loss.py              an arm of the experiment
A training
    training.py                   LeRobot's training, with a recipe; frame_cache.py: images decoded once
    training_start.py             checks of the command line
    draccus_errors.py             what is wrong with a setting, in one line
    prepare.py                    what a policy takes from its dataset
    dataset_inputs.py             does the dataset have what the policy takes?
    training_labels.py            do its labels answer what the policy asks?
    dataset_origin.py             which recordings does it hold?
    action_statistics.py          what actions are normalised by (recorded_actions.py)
    action_tokenizer_fit.py       their tokenizer, fitted and checked (gripper_check.py, rounding_error.py)
    checkpoint_statistics.py      the statistics of a checkpoint that is trained further
    named_images.py               errors that name an image
A checkpoint
    checkpoints.py                finds it, and what it was trained on
    checkpoint_schema.py          what its files may hold, checked before they are read
    checkpoint_files.py           its files by name; tokenizer_files.py, text_files.py: those of the tokenizers
    policy_kinds.py               the backbones with their action heads
    convert/                      published weights
Around them
    observation_forms.py, attention.py    forms of an observation; attention maps
    lerobot_host.py               the inside of LeRobot
"""
