"""Every flag of RWKV-PEFT's train.py and merge.py, late 2024 to late 2025, and what eyas does.

`there`: what the program really did, which is not always what its tutorial says.
Source: its train.py and what that reads of the arguments, at e184ef6 (2024-12) and 5b8aac9
(2025-06), and the later ones that its README names.
"""

from eyas.rwkv_peft.flags import Flag, Handled, Idle, OfFile, Only, Sets

_NO_LAYER = "no released RWKV has such a layer"
_PILE = "belongs to RWKV-LM's training on the Pile"
_KERNELS = "eyas chooses the operator by the device"
_CHECKPOINTS = tuple(
    f"{name}_checkpoint" for name in ("pissa", "bone", "disha", "miss", "state", "peft")
)
_LOADER = "eyas reads the data ahead by itself"

_FILES = (
    Flag("load_model", "text", "", Handled(), "base model; empty: a new one",
         "base model, .pth or .safetensors; empty: a new one of n_layer, n_embd and my_testing"),
    Flag("proj_dir", "text", "out", Sets("out"), "folder of the output",
         "the same; run.toml, checkpoints and metrics.jsonl lie there too"),
    Flag("data_file", "text", "", Handled(), "data, binidx without its suffix",
         "data of any kind that eyas reads, binidx with or without its suffix"),
    Flag("data_type", "text", "utf-8", Sets("reading.data_type"),
         "utf-8, utf-16le, numpy, binidx, dummy, uint16, sft, jsonl",
         "the same, and csv, parquet, json, txt; left out: seen from the file", ours="auto"),
    Flag("my_sample_len", "int", 0, Handled(), "uint16: tokens of a row", "the same"),
    Flag("sft_field", "list", (), Handled(), "sft: the fields of question and answer",
         "the same, for all data with fields"),
    Flag("sft_split", "text", "train", Handled(), "sft: the split, or a slice of it",
         "the split of a data set of the hub; no slices"),
    Flag("vocab_size", "int", 0, OfFile("vocab_size", 0), "rows of embedding and head",
         "read from the model; without one: 65536, or 0 for the characters of the text"),
    Flag("tokenizer", "text", "", Handled(), "",
         "vocabulary of the model, where its size does not tell: a file, or bytes"),
)  # fmt: skip

_EPOCHS = (
    Flag("ctx_len", "int", 1024, Sets("batch.ctx"), "tokens of a row; the rest is cut off",
         "tokens of a row; longer documents are cut into pieces, none is lost"),
    Flag("micro_bsz", "int", 12, Sets("batch.micro_batch"), "rows on each device", "the same"),
    Flag("epoch_steps", "int", 1000, Handled(),
         "an epoch: so many micro-batches on all devices together, always of the first documents",
         "the same number, but of the whole file, in a new order each time it was gone through"),
    Flag("epoch_count", "int", 500, Handled(), "epochs to train", "the same"),
    Flag("epoch_begin", "int", 0, Handled(),
         "number of the first epoch; the learning rate begins as far along",
         "number of the first epoch, in files and logs; the learning rate begins at lr_init"),
    Flag("epoch_save", "int", 5, Handled(), "epochs between two rwkv-N.pth; the last always",
         "the same; a checkpoint to go on from is written after each epoch"),
    Flag("my_exit", "int", 99999999, Handled(), "number of the last epoch", "the same"),
    Flag("accumulate_grad_batches", "int", 1, Sets("loop.accumulate"),
         "micro-batches of an optimizer step", "the same, all trained tokens counting alike"),
    Flag("random_seed", "int", -1, Handled(), "seed; -1: by chance", "seed; -1: 0"),
    Flag("data_shuffle", "int", 1, Idle(), "0: documents in the order of the file",
         "each pass goes through the documents in a new order"),
)  # fmt: skip

_MODEL = (
    Flag("n_layer", "int", 6, OfFile("num_layers"), "layers of the model",
         "read from the model; another number is an error"),
    Flag("n_embd", "int", 512, OfFile("width"), "width of the model", "as n_layer"),
    Flag("my_testing", "text", "x052", OfFile("version"), "version: x052, x060, x070",
         "as n_layer"),
    Flag("dim_att", "int", 0, OfFile("width", 0), "width of the time mix; 0: n_embd", "as n_layer"),
    Flag("dim_ffn", "int", 0, OfFile("ffn_width", 0), "width of the channel mix; 0: by n_embd",
         "as n_layer"),
    Flag("head_size_a", "int", 64, OfFile("head_size"), "head size", "as n_layer"),
    Flag("head_size_divisor", "int", 8, Only((8,)), "scales what the heads give",
         "8 in every released RWKV"),
    Flag("pre_ffn", "int", 0, Only((0,)), "an ffn in place of the first time mix", _NO_LAYER),
    Flag("head_qk", "int", 0, Only((0,)), "a copying head", _NO_LAYER),
    Flag("tiny_att_dim", "int", 0, Only((0,)), "a small attention", _NO_LAYER),
    Flag("tiny_att_layer", "int", -999, Idle(), "where the small attention is", _NO_LAYER),
    Flag("my_pos_emb", "int", 0, Only((0,)), "position embedding", _NO_LAYER),
    Flag("my_ffn_shift", "int", 1, Only((1,)), "token shift of the channel mix",
         "every RWKV has it"),
    Flag("my_att_shift", "int", 1, Only((1,)), "token shift of the time mix", "every RWKV has it"),
    Flag("load_partial", "int", 0, Only((0,)), "loads a model with tensors missing",
         "models are loaded whole"),
)  # fmt: skip

_RATE = (
    Flag("lr_init", "float", 6e-4, Sets("optim.lr"), "first learning rate", "the same"),
    Flag("lr_final", "float", 1e-5, Handled(),
         "last one; equal: constant; one of them 0: linear; else exponential", "the same"),
    Flag("lr_schedule", "text", "cos", Handled(),
         "cos: cosine to lr_final, no warm-up; wsd: warm-up of 100 steps if none is said, then "
         "cosine to 0",
         "the same, with the warm-up; left out: as lr_final says", ours=""),
    Flag("warmup_steps", "int", -1, Handled(), "steps in which the rate rises from a hundredth",
         "the same"),
    Flag("beta1", "float", 0.9, Sets("optim.beta1"), "Adam's", "the same"),
    Flag("beta2", "float", 0.99, Sets("optim.beta2"), "Adam's", "the same"),
    Flag("adam_eps", "float", 1e-8, Sets("optim.epsilon"), "Adam's", "the same"),
    Flag("weight_decay", "float", 0.0, Sets("optim.weight_decay"),
         "AdamW's, of everything with two dimensions", "of the large matrices alone"),
    Flag("weight_decay_final", "float", -1.0, Only((-1.0, 0.0)), "moves the weight decay",
         "it stays as it is"),
    Flag("layerwise_lr", "int", 1, Sets("optim.layerwise_lr", bool), "time_decay at twice the rate",
         "the same, and RWKV-7's att.w0"),
    Flag("optim", "text", "none", Only(("none",)), "adam_mini, not installed with it",
         "the optimizer is AdamW"),
    Flag("dropout", "float", 0.0, Only((0.0,)), "dropout in the blocks",
         "models have none; lora_dropout in lora_config is the adapter's"),
)  # fmt: skip

_METHOD = (
    Flag("peft", "text", "none", Handled(), "none, lora, pissa, bone, disha, miss",
         "the same, and state; none or sft trains all weights"),
    Flag("lora_config", "settings", {}, Handled(), "LoRA's settings",
         "the same; lora_parts att or ffn chooses the linears",
         keys=("lora_load", "lora_r", "lora_alpha", "lora_dropout", "lora_parts")),
    Flag("pissa_config", "settings", {}, Handled(), "PiSSA's settings",
         "the same; without svd_niter a closer decomposition",
         keys=("pissa_load", "pissa_init", "pissa_r", "svd_niter", "pissa_parts")),
    Flag("bone_config", "settings", {}, Handled(), "Bone's settings, bone_mode bone or bat",
         "the same", also=("disha_config", "miss_config"),
         keys=("bone_mode", "bone_load", "bone_r", "mode", "load", "r")),
    Flag("peft_config", "settings", {}, Handled(), "late 2025: settings of HF peft", "the same",
         keys=("r", "lora_alpha", "lora_dropout")),
    Flag("train_parts", "list", ("time", "ln"), Handled(),
         "time, ln, emb, head; the form with brackets was read as single letters",
         "the same, both forms; time is RWKV-7's too"),
    Flag("train_type", "text", "none", Handled(), "state or infctx",
         "state: state tuning; infctx: a row in chunks, and exact, where theirs cut the gradient"),
    Flag("state_tune", "switch", False, Handled(), "state tuning", "as --train_type state"),
    Flag("chunk_ctx", "int", 512, Handled(), "infctx: tokens of a chunk", "the same"),
    Flag("quant", "text", "none", Handled(), "int8, nf4, fp4, 4bit",
         "the same; what is trained stays float32"),
    Flag("merge", "int", 1, Only((0,)), "late 2025: rwkv-N.pth is merged already",
         "rwkv-N.pth is the adapter; merge/merge.py merges it", ours=0),
)  # fmt: skip

_ROWS = (
    Flag("dataload", "text", "pad", Sets("batch.dataload"),
         "pad: a document a row, filled with the next ones; only: one, not filled; get (the "
         "default of 2024): windows over everything",
         "the same, filled with what is never trained; pack: documents end to end"),
    Flag("loss_mask", "text", "none", Sets("reading.mask"),
         "pad: a document's own tokens; qa: from Assistant: to User:, by token numbers; se: by "
         "mask_id", "the same, found in the text; left out: answers of conversations, else all",
         ours="auto"),
    Flag("mask_id", "settings", {}, Handled(), "se: mask1 begins what is trained, mask0 ends it",
         "the same; a number is that of a token", keys=("mask0", "mask1", "mask01")),
    Flag("my_qa_mask", "int", 0, Only((0,)), "masks of question data", "take --loss_mask qa"),
)  # fmt: skip

_MACHINE = (
    Flag("accelerator", "text", "gpu", Handled(), "gpu",
         "gpu, cpu, mps or auto; gpu where there is none trains on the CPU, and says so",
         ours="auto"),
    Flag("devices", "int", 1, Sets("engine.devices"), "GPUs of this machine",
         "processes on this machine"),
    Flag("num_nodes", "int", 1, Sets("engine.num_nodes"), "machines",
         "the same; they meet at --rendezvous, or at MASTER_ADDR and MASTER_PORT"),
    Flag("rendezvous", "text", "", Handled(), "", "HOST:PORT of one of several machines"),
    Flag("strategy", "text", "auto", Sets("engine.strategy"), "Lightning's or DeepSpeed's",
         "the same names, with PyTorch's own means"),
    Flag("precision", "text", "fp16", Sets("precision"), "bf16; the others did not work",
         "fp32, tf32, fp16, bf16; left out: bf16 on a GPU, fp32 on a CPU", ours="auto"),
    Flag("grad_cp", "int", 0, Sets("loop.recompute", bool),
         "activation checkpointing (the tutorial calls it gradient accumulation)", "the same"),
    Flag("wandb", "text", "", Handled(), "project of Weights & Biases", "the same"),
    Flag("fla", "switch", False, Idle(), "kernels of flash-linear-attention", _KERNELS),
    Flag("op", "text", "cuda", Idle(), "kernels: cuda, fla or triton", _KERNELS),
    Flag("fused_kernel", "switch", False, Idle(), "fused kernels", _KERNELS),
    Flag("ds_bucket_mb", "int", 200, Idle(), "buckets of DeepSpeed", "PyTorch has its own"),
    Flag("avg_loss", "int", 0, Idle(), "a place for a sum, and no setting",
         "the loss of a step is always the mean of its tokens"),
    Flag("num_workers", "int", 8, Idle(), "processes that read", _LOADER),
    Flag("persistent_workers", "switch", False, Idle(), "keeps them", _LOADER),
    Flag("prefetch_factor", "int", 0, Idle(), "batches read ahead", _LOADER),
)  # fmt: skip

_PILE_FLAGS = (
    Flag("my_pile_stage", "int", 0, Only((0,)), "its three stages", _PILE),
    Flag("my_pile_edecay", "int", 0, Only((0,)), "epochs before the rate falls", _PILE),
    Flag("my_exit_tokens", "int", 0, Only((0,)), "tokens until the end, with a cosine",
         "give --epoch_steps and --epoch_count, and --lr_schedule cos"),
    Flag("my_pile_version", "int", 1, Idle(), "which files", _PILE),
    Flag("my_pile_shift", "int", -1, Idle(), "shifts the text", _PILE),
    Flag("magic_prime", "int", 0, Idle(), "its order of the text", _PILE),
    Flag("my_random_steps", "int", 0, Idle(), "steps in another order", _PILE),
)  # fmt: skip

TRAIN = (*_FILES, *_EPOCHS, *_MODEL, *_RATE, *_METHOD, *_ROWS, *_MACHINE, *_PILE_FLAGS)

MERGE = (
    Flag("type", "text", "pissa", Handled(), "pissa, lora",
         "pissa, lora, bone, disha, miss, bat, state; left out: seen from the files"),
    Flag("base_model", "text", "", Handled(), "base model", "the same"),
    Flag("lora_init", "text", "none", Handled(), "PiSSA's init_pissa.pth",
         "the same; left out or empty: the one beside the checkpoint", also=("pissa_init",),
         may_be_empty=True),
    Flag("lora_checkpoint", "text", "", Handled(), "rwkv-N.pth",
         "the same; left out or empty: the last one in the folder of --output",
         also=_CHECKPOINTS, may_be_empty=True),
    Flag("output", "text", "", Handled(), "file to write", "the same; replaced where it exists"),
    Flag("quant", "text", "none", Handled(), "int8, nf4, fp4, 4bit, as in training",
         "the same; a run of eyas knows it itself"),
    Flag("lora_alpha", "float", 16, Handled(), "LoRA's alpha", "the same; a run of eyas knows it"),
    Flag("device", "text", "cuda", Idle(), "where it computes",
         "weights go through memory one by one"),
)  # fmt: skip
