"""What the pages say is true: their examples run, their commands parse, their tables agree."""
