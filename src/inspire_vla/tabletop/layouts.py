"""The scenes of the benchmark, as data: which things, and where each stands (x, y in metres, base frame)."""

from inspire_vla.tabletop.scenes import Scene

SCENES = {
    scene.name: scene
    for scene in (
        Scene("plates", (("red_cube", 0.38, 0.24), ("green_cylinder", 0.61, 0.21), ("yellow_ball", 0.37, -0.21),
                         ("blue_plate", 0.47, 0.03), ("white_bowl", 0.60, -0.20), ("pink_mug", 0.63, 0.02))),
        Scene("basket", (("brown_basket", 0.47, 0.25), ("yellow_ball", 0.34, 0.03), ("purple_cube", 0.61, 0.00),
                         ("orange_cylinder", 0.42, -0.25), ("white_plate", 0.61, -0.20), ("cyan_cube", 0.46, -0.10))),
        Scene("cabinet", (("brown_cabinet", 0.20, 0.28), ("green_mug", 0.43, 0.25), ("red_cube", 0.37, -0.23),
                          ("white_plate", 0.58, -0.07), ("blue_cylinder", 0.62, 0.22))),
        Scene("drawer", (("gray_cabinet", 0.20, -0.28), ("blue_cube", 0.56, -0.26), ("yellow_cylinder", 0.36, 0.22),
                         ("black_bowl", 0.57, 0.17), ("red_ball", 0.47, -0.04)), drawer_open=True),
        Scene("tray", (("gray_tray", 0.42, -0.22), ("white_mug", 0.37, 0.24), ("blue_ball", 0.62, 0.24),
                       ("pink_cube", 0.62, -0.18), ("yellow_plate", 0.54, 0.09), ("purple_cylinder", 0.35, 0.05))),
        Scene("box", (("brown_box", 0.36, 0.25), ("red_cylinder", 0.50, 0.24), ("blue_mug", 0.37, -0.23),
                      ("black_cube", 0.62, -0.22), ("green_plate", 0.55, -0.03), ("orange_ball", 0.40, 0.00))),
        Scene("bowls", (("white_bowl", 0.38, -0.18), ("cyan_cube", 0.61, 0.22), ("red_mug", 0.36, 0.22),
                        ("purple_ball", 0.62, -0.22), ("black_plate", 0.52, 0.03), ("yellow_mug", 0.48, -0.27))),
        Scene("shelf", (("white_cabinet", 0.20, -0.28), ("blue_basket", 0.56, 0.23), ("orange_cube", 0.43, -0.25),
                        ("pink_cylinder", 0.62, -0.22), ("green_ball", 0.36, 0.20), ("cyan_cylinder", 0.58, 0.00))),
        Scene("stand", (("white_box", 0.38, -0.02), ("cyan_ball", 0.62, 0.22), ("green_cube", 0.52, 0.02),
                        ("orange_mug", 0.38, 0.23), ("purple_plate", 0.62, -0.19), ("black_cylinder", 0.37, -0.23))),
    )
}  # fmt: skip
"""The scenes of training. Each also holds a thing or two that no seen task touches."""

TWINS = {
    scene.name: scene
    for scene in (
        Scene("twin_cubes", (("red_cube_1", 0.40, -0.06), ("white_bowl", 0.39, -0.22), ("red_cube_2", 0.61, 0.15),
                             ("pink_mug", 0.60, 0.27), ("blue_plate", 0.60, -0.13), ("green_cylinder", 0.36, 0.22))),
        Scene("twin_balls", (("yellow_ball_1", 0.45, 0.09), ("white_plate", 0.45, 0.24), ("yellow_ball_2", 0.62, -0.02),
                             ("purple_cube", 0.62, 0.10), ("brown_basket", 0.45, -0.22))),
        Scene("twin_mugs", (("white_mug_1", 0.36, -0.08), ("yellow_plate", 0.36, -0.23), ("white_mug_2", 0.62, -0.11),
                            ("blue_ball", 0.62, -0.23), ("gray_tray", 0.50, 0.22), ("pink_cube", 0.48, -0.02))),
        Scene("twin_cylinders", (("black_cylinder_1", 0.53, 0.22), ("white_box", 0.38, 0.22),
                                 ("orange_mug", 0.37, -0.23), ("black_cylinder_2", 0.37, -0.11),
                                 ("purple_plate", 0.56, -0.17), ("green_cube", 0.63, 0.05))),
    )
}  # fmt: skip
"""Scenes with two things of the same name, one of them beside something. Never trained on."""
