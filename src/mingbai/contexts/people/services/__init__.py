"""Every change to people and rights, one function each, each with its entry in the control stream."""
