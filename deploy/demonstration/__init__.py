"""What deploy/demo plays."""
