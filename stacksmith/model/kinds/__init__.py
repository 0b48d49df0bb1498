"""What a user can declare: one module per kind."""
