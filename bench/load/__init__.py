"""What makes the load: each module is a process of its own, so that it shares no interpreter with what it measures."""
