// iverilog -o exp_golomb_tb exp_golomb.v exp_golomb_tb.v && ./exp_golomb_tb
// Every value must be read back from its code, which must have 2 * floor(log2(value + 1)) + 1 bits.
module exp_golomb_tb;
    reg clk = 0, rst = 1, valid = 0;
    reg [7:0] value = 0;
    wire ready, bit_valid, code_bit, last;
    integer i, zeros, bits, number, length, ones, wrong = 0;

    exp_golomb dut (
        .clk(clk), .rst(rst), .valid(valid), .value(value), .ready(ready), .bit_valid(bit_valid), .code_bit(code_bit),
        .last(last)
    );
    always #1 clk = ~clk;

    initial begin
        @(negedge clk) rst = 0;
        for (i = 0; i < 256; i = i + 1) begin
            while (!ready) @(negedge clk);
            valid = 1;
            value = i[7:0];
            @(negedge clk) valid = 0;
            zeros = 0;
            number = 0;
            length = 0;
            ones = 0;
            while (!(bit_valid && last)) begin
                @(negedge clk);
                if (bit_valid) begin
                    length = length + 1;
                    if (code_bit) ones = ones + 1;
                    if (ones == 0) zeros = zeros + 1;
                    number = number * 2 + code_bit;
                end
            end
            if (number != i + 1 || length != 2 * zeros + 1) wrong = wrong + 1;
        end
        if (wrong == 0) $display("exp_golomb: all 256 codes are right");
        else $display("exp_golomb: %0d codes are WRONG", wrong);
        $finish;
    end
endmodule
