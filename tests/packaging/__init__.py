"""What is shipped, and the commands that build, install and measure it."""
