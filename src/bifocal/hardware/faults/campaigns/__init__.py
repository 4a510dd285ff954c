"""What is simulated and counted: campaigns, scores, comparison, hardening."""
