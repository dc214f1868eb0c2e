"""Every change about messages, one function each, each with its entry in the control stream."""
