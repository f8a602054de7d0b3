"""What people open: pages, figures, and the jobs that render them."""
