"""Commands about serving: `serve`, `rollout` and `token`."""
