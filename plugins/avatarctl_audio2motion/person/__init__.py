"""The capture skeleton as a person: its 104 numbers to a `Motion` and back, the open person, its face."""
