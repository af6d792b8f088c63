# Merges what run_lora.sh trained into its base model.
# In the folder above this one: sh scripts/merge_lora.sh

base_model='/home/rwkv/models/basemodel/3b.pth'
lora_checkpoint='/home/rwkv/output_lora/rwkv-0.pth'
output='/home/rwkv/output_lora/lora-test-3b.pth'
TYPE='lora'
Lora_alpha=32

python merge/merge.py --base_model "$base_model" \
--lora_checkpoint "$lora_checkpoint" \
--output "$output" \
--type $TYPE \
--lora_alpha $Lora_alpha

# --quant int8 or nf4, where the base was quantized in training
