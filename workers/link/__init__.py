"""The socket between a node and its engine: both ends and the messages."""
