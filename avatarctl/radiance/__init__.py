"""What fields of colour and density are built from."""
