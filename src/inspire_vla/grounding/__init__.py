"""Eyes before hands: a small backbone learns what things are called and where they are in a picture.

A published VLA starts from a vision-language model that knows this. `nano` starts from nothing, so it gets the same
start by this pre-training: pictures of the benchmark's shapes and colours in free arrangements, and questions on names,
presence and place in the picture. No actions, no directions relative to a robot, no layout of any suite.
"""
