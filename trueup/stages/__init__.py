"""One plain function a stage, and the branching of the loop."""
