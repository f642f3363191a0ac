"""What stands between a plan and the robot: bounds, rates, a workspace, braking, and the filter that applies them."""
