"""Trains strategies: bars in, a model bundle out; exact to the bit over any number of interruptions.

run         one training from assignment to bundle
loop        the training loop, to be read from top to bottom
samples     bars -> inputs, labels, splits -> tensors
labels, splits, metrics, schedule    pure functions and plain numbers
objective   losses, class weights, optimisers
evaluation  a model's measurements on a span
state, resume    what is saved, and how it comes back
"""

__all__: list[str] = []
