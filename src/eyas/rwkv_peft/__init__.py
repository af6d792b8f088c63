"""RWKV-PEFT's command line: its flags, its files, its merge; the work is that of eyas."""
