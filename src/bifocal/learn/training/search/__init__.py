"""Architecture search: training of a supernet, search of its subnets, fine-tuning and packing of those
found."""
