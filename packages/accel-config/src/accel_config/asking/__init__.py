"""The wizard: its questions, the answers it proposes, and the file that it writes."""
