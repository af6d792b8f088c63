# Puts the state that run_state.sh trained into its base model.
# In the folder above this one: sh scripts/merge_state.sh

base_model='/home/rwkv/models/basemodel/3b.pth'
state_checkpoint='/home/rwkv/output_state/rwkv-0.pth'
output='/home/rwkv/output_state/state-test-3b.pth'
TYPE='state'

python merge/merge.py --base_model "$base_model" \
--state_checkpoint "$state_checkpoint" \
--output "$output" \
--type $TYPE

# --quant int8 or nf4, where the base was quantized in training
