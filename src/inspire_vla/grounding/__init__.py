"""Eyes before hands: a small backbone learns what things are called and where they are in an image.

A published VLA starts from a vision-language model that knows this. `nano` starts from nothing, so it gets the same
start by this pre-training: images of the benchmark's shapes and colours in free arrangements, and questions on names,
presence and place in the image. No actions, no directions relative to a robot, no layout of any suite.
"""
