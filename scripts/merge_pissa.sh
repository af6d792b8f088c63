# Merges what run_pissa.sh trained into its base model.
# In the folder above this one: sh scripts/merge_pissa.sh

base_model='/home/rwkv/models/basemodel/3b.pth'
pissa_init='/home/rwkv/output_pissa/init_pissa.pth'
pissa_checkpoint='/home/rwkv/output_pissa/rwkv-0.pth'
output='/home/rwkv/output_pissa/pissa-test-3b.pth'
TYPE='pissa'

python merge/merge.py --base_model "$base_model" \
--lora_init "${lora_init:-$pissa_init}" \
--lora_checkpoint "${lora_checkpoint:-$pissa_checkpoint}" \
--output "$output" \
--type $TYPE

# --quant int8 or nf4, where the base was quantized in training
