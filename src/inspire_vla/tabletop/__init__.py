"""The embedded benchmark: a MuJoCo arm on a table, tasks as data, a scripted expert, a gymnasium environment."""
