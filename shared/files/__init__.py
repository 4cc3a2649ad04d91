"""Files that a client names: opened below allowed directories, without following a link on the way."""
