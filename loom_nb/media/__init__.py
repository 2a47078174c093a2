"""What is known of an image, a PDF or a sound by its bytes alone: what it is, how large, what it costs."""
