"""The chat template of the RWKV-7 G1 series in Jinja, for programs that take one with a model.

The same text as `eyas.data.template`: turns of one line after another without blank lines, a
blank line between turns. `enable_thinking` is what transformers and llama.cpp call the choice.
By the comment llama.cpp's own, older template engine knows it.
"""

CHAT_TEMPLATE = r"""{#- rwkv-world -#}
{%- for message in messages -%}
  {%- set content = (message['content'] or '')|trim -%}
  {%- if message['role'] == 'tool' -%}
    {%- set content = 'Function output:\n' + content -%}
  {%- endif -%}
  {%- set turn = namespace(text='') -%}
  {%- for line in content.replace('\r\n', '\n').split('\n') -%}
    {%- if line -%}
      {%- set turn.text = turn.text + ('\n' if turn.text else ' ') + line -%}
    {%- endif -%}
  {%- endfor -%}
  {%- if message['role'] == 'system' -%}
    {{- 'System:' -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- 'Assistant:' -}}
  {%- else -%}
    {{- 'User:' -}}
  {%- endif -%}
  {{- turn.text -}}
  {%- if not loop.last or add_generation_prompt -%}
    {{- '\n\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- 'Assistant:' -}}
  {%- if enable_thinking is defined and enable_thinking is true -%}
    {{- ' <think' -}}
  {%- elif enable_thinking is defined and enable_thinking is false -%}
    {{- ' <think>\n</think>' -}}
  {%- endif -%}
{%- endif -%}
"""
