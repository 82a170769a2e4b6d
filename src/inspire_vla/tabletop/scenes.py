"""The scenes of the benchmark, as data: for training, with duplicates for `tabletop_spatial`, and for tuning."""

from inspire_vla.tabletop.scene import Scene


def _named(*scenes: Scene) -> dict[str, Scene]:
    return {scene.name: scene for scene in scenes}


SCENES = _named(
    Scene("plates", (("red_cube", 0.38, 0.24), ("green_cylinder", 0.61, 0.21), ("yellow_ball", 0.37, -0.21),
                     ("blue_plate", 0.47, 0.03), ("white_bowl", 0.60, -0.20), ("pink_mug", 0.63, 0.02)),
          free=(("blue_plate", "left"),)),
    Scene("basket", (("brown_basket", 0.47, 0.25), ("yellow_ball", 0.34, 0.03), ("purple_cube", 0.61, 0.00),
                     ("orange_cylinder", 0.42, -0.25), ("white_plate", 0.61, -0.20), ("cyan_cube", 0.46, -0.10))),
    Scene("cabinet", (("brown_cabinet", 0.20, 0.28), ("green_mug", 0.43, 0.25), ("red_cube", 0.37, -0.23),
                      ("white_plate", 0.58, -0.07), ("blue_cylinder", 0.62, 0.22), ("purple_cube", 0.45, 0.06))),
    Scene("drawer", (("gray_cabinet", 0.20, -0.28), ("blue_cube", 0.56, -0.26), ("yellow_cylinder", 0.36, 0.22),
                     ("black_bowl", 0.57, 0.17), ("red_ball", 0.47, -0.04)), drawer_open=True),
    Scene("tray", (("gray_tray", 0.42, -0.22), ("white_mug", 0.37, 0.24), ("blue_ball", 0.62, 0.24),
                   ("pink_cube", 0.62, -0.18), ("yellow_plate", 0.54, 0.09), ("purple_cylinder", 0.35, 0.05))),
    Scene("box", (("brown_box", 0.36, 0.25), ("red_cylinder", 0.50, 0.24), ("blue_mug", 0.37, -0.23),
                  ("black_cube", 0.62, -0.22), ("green_plate", 0.55, -0.03), ("orange_ball", 0.40, 0.00)),
          free=(("green_plate", "right"),)),
    Scene("bowls", (("white_bowl", 0.38, -0.18), ("cyan_cube", 0.61, 0.22), ("red_mug", 0.36, 0.22),
                    ("purple_ball", 0.62, -0.22), ("black_plate", 0.52, 0.03), ("yellow_mug", 0.48, -0.27)),
          free=(("black_plate", "back"),)),
    Scene("shelf", (("white_cabinet", 0.20, -0.28), ("blue_basket", 0.56, 0.23), ("orange_cube", 0.43, -0.25),
                    ("pink_cylinder", 0.62, -0.22), ("green_ball", 0.36, 0.20), ("cyan_cylinder", 0.58, 0.00))),
    Scene("stand", (("white_box", 0.38, -0.02), ("cyan_ball", 0.62, 0.22), ("green_cube", 0.52, 0.04),
                    ("orange_mug", 0.38, 0.23), ("purple_plate", 0.62, -0.19), ("black_cylinder", 0.37, -0.23)),
          free=(("purple_plate", "right"),)),
    Scene("cubes", (("green_cube_1", 0.39, 0.24), ("green_cube_2", 0.43, -0.13), ("yellow_plate", 0.45, 0.06),
                    ("blue_bowl", 0.60, -0.20), ("black_mug", 0.39, -0.26), ("purple_ball", 0.61, 0.26)),
          places=(("green_cube_1", "right"), ("green_cube_2", "left")), free=(("yellow_plate", "front"),)),
    Scene("mugs", (("orange_mug_1", 0.62, 0.10), ("orange_mug_2", 0.48, 0.14), ("orange_mug_3", 0.34, 0.13),
                   ("gray_tray", 0.44, -0.22), ("white_cylinder", 0.62, 0.25), ("brown_cube", 0.42, 0.27)),
          places=(("orange_mug_1", "front"), ("orange_mug_2", "middle"), ("orange_mug_3", "back"))),
    Scene("dishes", (("yellow_plate_1", 0.52, 0.16), ("yellow_plate_2", 0.50, -0.16), ("red_mug", 0.36, 0.24),
                     ("white_cylinder", 0.63, 0.01), ("cyan_ball", 0.35, -0.26)),
          places=(("yellow_plate_1", "right"), ("yellow_plate_2", "left"))),
    Scene("soup", (("white_bowl_1", 0.61, 0.10), ("white_bowl_2", 0.40, -0.13), ("purple_cube", 0.40, 0.24),
                   ("orange_ball", 0.59, -0.22), ("gray_mug", 0.50, -0.27)),
          places=(("white_bowl_1", "front"), ("white_bowl_2", "back"))),
    Scene("pantry", (("black_plate", 0.42, 0.22), ("green_cylinder_1", 0.42, 0.07), ("pink_cube", 0.62, 0.03),
                     ("green_cylinder_2", 0.62, -0.08), ("white_basket", 0.45, -0.23), ("yellow_ball", 0.62, 0.20)),
          places=(("green_cylinder_1", "right"), ("green_cylinder_2", "left")),
          neighbours=(("green_cylinder_1", "black_plate"), ("green_cylinder_2", "pink_cube"))),
    Scene("orchard", (("green_mug", 0.39, 0.25), ("blue_ball_1", 0.39, 0.13), ("yellow_bowl", 0.60, -0.20),
                      ("blue_ball_2", 0.61, -0.05), ("purple_plate", 0.42, -0.14), ("red_cylinder", 0.61, 0.17)),
          places=(("blue_ball_1", "back"), ("blue_ball_2", "front")),
          neighbours=(("blue_ball_1", "green_mug"), ("blue_ball_2", "yellow_bowl"))),
    Scene("study", (("white_mug", 0.36, -0.24), ("pink_cube_1", 0.36, -0.11), ("black_cylinder", 0.61, 0.05),
                    ("pink_cube_2", 0.61, -0.06), ("brown_tray", 0.44, 0.20), ("green_bowl", 0.60, -0.22)),
          places=(("pink_cube_1", "back"), ("pink_cube_2", "front")),
          neighbours=(("pink_cube_1", "white_mug"), ("pink_cube_2", "black_cylinder"))),
    Scene("kitchen", (("black_cabinet", 0.20, -0.28), ("cyan_cube_1", 0.61, 0.12), ("cyan_cube_2", 0.40, 0.12),
                      ("cyan_mug", 0.42, 0.25), ("white_plate", 0.58, -0.10)), drawer_open=True,
          places=(("cyan_cube_1", "front"), ("cyan_cube_2", "back"))),
)  # fmt: skip
"""The training scenes. Most also have one or two objects that no seen task manipulates."""

DUPLICATE_SCENES = _named(
    Scene("twin_cubes", (("white_bowl", 0.42, -0.25), ("red_cube_1", 0.42, -0.10), ("pink_mug", 0.60, 0.27),
                         ("red_cube_2", 0.61, 0.15), ("blue_plate", 0.60, -0.13), ("green_cylinder", 0.36, 0.22)),
          places=(("red_cube_1", "left"), ("red_cube_2", "right")),
          neighbours=(("red_cube_1", "white_bowl"), ("red_cube_2", "pink_mug"))),
    Scene("twin_balls", (("white_plate", 0.45, 0.24), ("yellow_ball_1", 0.45, 0.09), ("purple_cube", 0.62, 0.10),
                         ("yellow_ball_2", 0.62, -0.02), ("brown_basket", 0.45, -0.22)),
          places=(("yellow_ball_1", "back"), ("yellow_ball_2", "front")),
          neighbours=(("yellow_ball_1", "white_plate"), ("yellow_ball_2", "purple_cube"))),
    Scene("twin_mugs", (("yellow_plate", 0.38, -0.26), ("white_mug_1", 0.38, -0.11), ("blue_ball", 0.62, -0.23),
                        ("white_mug_2", 0.62, -0.11), ("gray_tray", 0.50, 0.22), ("pink_cube", 0.48, -0.02)),
          places=(("white_mug_1", "back"), ("white_mug_2", "front")),
          neighbours=(("white_mug_1", "yellow_plate"), ("white_mug_2", "blue_ball"))),
    Scene("twin_cylinders", (("white_box", 0.38, 0.22), ("black_cylinder_1", 0.53, 0.22),
                             ("orange_mug", 0.37, -0.23), ("black_cylinder_2", 0.37, -0.11),
                             ("purple_plate", 0.56, -0.17), ("green_cube", 0.63, 0.05)),
          places=(("black_cylinder_1", "right"), ("black_cylinder_2", "left")),
          neighbours=(("black_cylinder_1", "white_box"), ("black_cylinder_2", "orange_mug"))),
    Scene("twin_bowls", (("black_bowl_1", 0.52, 0.20), ("black_bowl_2", 0.52, -0.15), ("orange_cube", 0.37, 0.12),
                         ("green_ball", 0.63, 0.03), ("white_mug", 0.37, -0.26)),
          places=(("black_bowl_1", "right"), ("black_bowl_2", "left"))),
)  # fmt: skip
"""Scenes of `tabletop_spatial`, with duplicate-instance distractors: two objects of the same name. Never trained on."""

VALIDATION_SCENES = _named(
    Scene("twin_brown_cubes", (("green_plate", 0.44, -0.23), ("brown_cube_1", 0.44, -0.08), ("red_mug", 0.62, 0.24),
                               ("brown_cube_2", 0.62, 0.12), ("blue_basket", 0.42, 0.20), ("cyan_ball", 0.62, -0.10)),
          places=(("brown_cube_1", "left"), ("brown_cube_2", "right")),
          neighbours=(("brown_cube_1", "green_plate"), ("brown_cube_2", "red_mug"))),
    Scene("twin_red_cylinders", (("blue_cube", 0.37, 0.25), ("red_cylinder_1", 0.37, 0.14),
                                 ("black_bowl", 0.61, 0.16), ("red_cylinder_2", 0.61, 0.02),
                                 ("white_plate", 0.45, -0.18), ("purple_ball", 0.62, -0.22)),
          places=(("red_cylinder_1", "back"), ("red_cylinder_2", "front")),
          neighbours=(("red_cylinder_1", "blue_cube"), ("red_cylinder_2", "black_bowl"))),
)  # fmt: skip
"""Scenes with duplicates for tuning. Never trained on, and never reported."""
