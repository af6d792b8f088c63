# Merges what run_bone.sh trained into its base model.
# In the folder above this one: sh scripts/merge_bone.sh

base_model='/home/rwkv/models/basemodel/3b.pth'
bone_checkpoint='/home/rwkv/output_bone/rwkv-0.pth'
output='/home/rwkv/output_bone/bone-test-3b.pth'
TYPE='bone'

python merge/merge.py --base_model "$base_model" \
--bone_checkpoint "${lora_checkpoint:-$bone_checkpoint}" \
--output "$output" \
--type $TYPE

# --quant int8 or nf4, where the base was quantized in training
