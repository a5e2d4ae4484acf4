"""What single files hold: pixels, headers, flags, noise, and the names that archives give to things."""
