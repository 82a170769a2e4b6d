"""The method as a policy of LeRobot: `--policy.type=inspire_vla`."""
