"""Grounding pre-training: a small backbone learns the names of objects and where they are in an image.

A published VLA starts from a vision-language model that already knows this. `nano` starts from random weights, so it is
pre-trained on images of the benchmark's shapes and colours in random arrangements, with questions about names, presence
and position in the image. Objects of the same name are told apart by place and relation, as the image shows them. The
data holds no actions, no directions relative to a robot, and no layout of any suite.
"""
